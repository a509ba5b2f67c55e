"""Prompts that published audits have models continue: one reader for each set's own files.

    bold                    Dhamala et al. 2021, https://arxiv.org/abs/2101.11718 (CC-BY-SA-4.0)
    honest                  Nozza et al. 2021, https://aclanthology.org/2021.naacl-main.191 and
                            Nozza et al. 2022, https://aclanthology.org/2022.ltedi-1.4 (MIT)
    holistic_bias           Smith et al. 2022, https://arxiv.org/abs/2205.09209 (CC-BY-SA-4.0)
    real_toxicity_prompts   Gehman et al. 2020, https://arxiv.org/abs/2009.11462 (Apache-2.0)
    toxigen                 Hartvigsen et al. 2022, https://arxiv.org/abs/2203.09509 (MIT)

Groups are compared within an axis. Texts are returned to whoever runs a model on them
and go nowhere else.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from audit import holistic_bias
from registry.records import UserError, describe_unknown

SetName = Literal["bold", "honest", "holistic_bias", "real_toxicity_prompts", "toxigen"]

GAP = "[M]"
TOXIC_PROMPT = 0.5  # Gehman et al. 2020, section 3.2: a prompt is toxic from here on


class PromptsError(UserError):
    """A set's files are missing or not in its form, or no prompt is left."""


@dataclass(frozen=True)
class Prompt:
    """What a model continues. ``cluster`` names what prompts share (an entity, a template);
    ``human`` is how people went on, where the set has it."""

    key: str
    text: str
    axis: str
    group: str
    cluster: str
    human: str | None = None


def files_of(name: SetName, data: Path) -> dict[str, Path]:
    """Every file that decides the set's prompts, by a name that no machine changes.

    BOLD and HolisticBias are folders as published; the others are one file each.
    """
    if name == "bold":
        if data.is_file():
            return {data.name: data}
        found = [*sorted(data.glob("prompts/*.json")), *sorted(data.glob("wikipedia/*.json*"))]
        return {str(path.relative_to(data)): path for path in found}
    if name == "holistic_bias":
        return holistic_bias.files(data)
    return {"data": data}


def read_prompts(
    name: SetName,
    data: Path,
    *,
    axes: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    max_prompts: int | None = None,
    seed: int = 0,
) -> list[Prompt]:
    """The set's prompts on these axes and of these groups, all where None.

    ``max_prompts`` takes axes in turns, on an axis its groups in turns, and of a group the
    prompts in the order of a hash with ``seed``: the same on every machine. Raises
    PromptsError or HolisticBiasError.
    """
    if name == "holistic_bias" and max_prompts is not None:
        # the draw has descriptors to choose from on each of the 13 axes
        prompts = list(_holistic_bias(data, per_axis=max_prompts, seed=seed))
    else:
        prompts = list(READERS[name](data))
    prompts = _kept(prompts, "axis", axes)
    prompts = _kept(prompts, "group", groups)
    if not prompts:
        raise PromptsError(f"{data} holds no prompt of {name} that was asked for")
    if max_prompts is None or len(prompts) <= max_prompts:
        return prompts
    return _in_turns(prompts, max_prompts, seed)


def _kept(prompts: list[Prompt], field: str, wanted: Sequence[str] | None) -> list[Prompt]:
    if wanted is None:
        return prompts
    known = sorted({getattr(prompt, field) for prompt in prompts})
    for name in wanted:
        if name not in known:
            raise PromptsError(describe_unknown(field, name, known))
    return [prompt for prompt in prompts if getattr(prompt, field) in wanted]


def _in_turns(prompts: list[Prompt], num: int, seed: int) -> list[Prompt]:
    def order(prompt: Prompt) -> str:
        return hashlib.sha256(f"{seed} {prompt.key} {prompt.text}".encode()).hexdigest()

    queues: dict[str, dict[str, list[Prompt]]] = {}
    for prompt in sorted(prompts, key=order):
        queues.setdefault(prompt.axis, {}).setdefault(prompt.group, []).append(prompt)
    axes = [_merged(list(queues[axis].values())) for axis in sorted(queues)]
    chosen = {prompt.key for prompt in _merged(axes)[:num]}
    return [prompt for prompt in prompts if prompt.key in chosen]


def _merged(queues: list[list[Prompt]]) -> list[Prompt]:
    """One of each in turns until all are used up."""
    longest = max(len(queue) for queue in queues)
    return [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]


def _bold(data: Path) -> Iterator[Prompt]:
    """BOLD's ``{group: {entity: [prompt]}}`` with what Wikipedia says after each prompt.

    ``data`` is BOLD's folder, or one of its prompt files. Prompts lose the space at their
    end: a model's tokens begin with it. Five of the published prompts are empty and left out.
    """
    paths = [data] if data.is_file() else sorted(data.glob("prompts/*_prompt.json"))
    if not paths:
        raise PromptsError(f"{data} has no prompts/*_prompt.json; give BOLD's folder")
    for path in paths:
        domain = path.name.removesuffix(".json").removesuffix("_prompt")
        human = _wikipedia(path.parent.parent / "wikipedia", domain)
        for group, entities in _json(path).items():
            for entity, texts in entities.items():
                for number, text in enumerate(texts):
                    if not text.strip():
                        continue
                    article = human.get(group, {}).get(entity, [])
                    yield Prompt(
                        key=f"{domain}/{group}/{entity}/{number}",
                        text=text.rstrip(),
                        axis=domain,
                        group=group,
                        cluster=f"{domain}/{entity}",
                        human=_after(text, article[number] if number < len(article) else ""),
                    )


def _wikipedia(folder: Path, domain: str) -> Any:
    for path in (folder / f"{domain}_wiki.json", folder / f"{domain}_wiki.json.gz"):
        if path.is_file():
            return _json(path)
    return {}


def _after(prompt: str, article: str) -> str | None:
    """What stands in ``article`` after the prompt that it begins with."""
    start = prompt.strip()
    if not article.strip().startswith(start):
        return None
    return article.strip()[len(start) :].strip() or None


def _honest(data: Path) -> Iterator[Prompt]:
    """HONEST's templates up to their gap: ``the woman works as a [M].``

    ``category`` is the group, the template without its identity (``raw``) the cluster.
    """
    for number, row in enumerate(_table(data, ("template_masked", "raw", "category"))):
        before, gap, rest = row["template_masked"].partition(GAP)
        if not gap or re.search(r"\w", rest) or not before.strip():
            raise PromptsError(
                f"{data}, row {number + 1}: a template ends in {GAP}, since the model goes on "
                "from there; take out the others"
            )
        yield Prompt(
            key=f"row-{number + 1}",
            text=before.rstrip(),
            axis="identity",
            group=row["category"],
            cluster=row["raw"],
        )


def _holistic_bias(data: Path, *, per_axis: int | None = None, seed: int = 0) -> Iterator[Prompt]:
    """HolisticBias' sentences. The group is a descriptor's bucket, and on an axis that has
    but one (religion) the descriptor; the template is the cluster."""
    found = holistic_bias.sentences(data, per_axis=per_axis, seed=seed)
    buckets: dict[str, set[str]] = {}
    for sentence in found:
        buckets.setdefault(sentence.phrase.axis, set()).add(sentence.phrase.bucket)
    for sentence in found:
        phrase = sentence.phrase
        one = len(buckets[phrase.axis] - {holistic_bias.PHRASES}) == 1
        bare = phrase.bucket != holistic_bias.PHRASES
        digest = hashlib.sha256(f"{phrase.descriptor}\n{sentence.text}".encode()).hexdigest()
        yield Prompt(
            key=f"{phrase.axis}/{digest[:16]}",
            text=sentence.text,
            axis=phrase.axis,
            group=phrase.descriptor if one and bare else phrase.bucket,
            cluster=sentence.template,
        )


def _real_toxicity_prompts(data: Path) -> Iterator[Prompt]:
    """JSONL in RealToxicityPrompts' form; prompts are toxic, non-toxic or unrated by their own
    score, in each case challenging or ordinary."""
    for number, row in _rows(data):
        try:
            text, score = row["prompt"]["text"], row["prompt"].get("toxicity")
            human = (row.get("continuation") or {}).get("text")
            rated = "unrated" if score is None else _toxic(float(score))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise PromptsError(
                f"{data}, line {number}: no prompt with text and toxicity ({error!r}); each line "
                'is {"prompt": {"text": ..., "toxicity": ...}, "challenging": ...}'
            ) from error
        yield Prompt(
            key=f"line-{number}",
            text=str(text).rstrip(),
            axis=rated,
            group="challenging" if row.get("challenging") else "ordinary",
            cluster=f"line-{number}",
            human=None if human is None else str(human).strip() or None,
        )


def _toxic(score: float) -> str:
    return "toxic" if score >= TOXIC_PROMPT else "non-toxic"


def _toxigen(data: Path) -> Iterator[Prompt]:
    """ToxiGen's lists of sentences about a group, hateful or neutral, that a model continues
    with one more. Its files write the ends of lines as backslash and n."""
    for number, row in _rows(data):
        try:
            text, label, group = (str(row[name]) for name in ("prompt", "label", "group"))
        except (KeyError, TypeError) as error:
            raise PromptsError(
                f"{data}, line {number}: no {error}; each line has prompt, label and group"
            ) from error
        yield Prompt(
            key=f"line-{number}",
            text=text.replace("\\n", "\n").rstrip(),
            axis=label,
            group=group,
            cluster=f"line-{number}",
        )


READERS: dict[SetName, Callable[[Path], Iterator[Prompt]]] = {
    "bold": _bold,
    "honest": _honest,
    "holistic_bias": _holistic_bias,
    "real_toxicity_prompts": _real_toxicity_prompts,
    "toxigen": _toxigen,
}


def read_lexicon(path: Path) -> frozenset[str]:
    """Hurtful words in lower case: HurtLex' lemmas of level ``conservative``, as HONEST takes
    them, from its TSV; or any other file's lines, a word each. Raises PromptsError."""
    text = _text(path)
    if "lemma" in text.split("\n", 1)[0].split("\t"):
        rows = _table(path, ("lemma", "level"))
        words = [row["lemma"] for row in rows if row["level"] == "conservative"]
    else:
        words = text.split("\n")
    found = frozenset(word.strip().lower() for word in words if word.strip())
    if not found:
        raise PromptsError(f"{path} holds no word; give HurtLex' TSV, or a word on each line")
    return found


def _table(path: Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(
        _text(path).split("\n"), delimiter="\t", quoting=csv.QUOTE_NONE, restval=""
    )
    missing = [name for name in columns if name not in (reader.fieldnames or ())]
    if missing:
        raise PromptsError(f"{path} has no column {', '.join(missing)}; give a TSV with them")
    return list(reader)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                raise PromptsError(f"{path}, line {number} is no JSON ({error})") from error


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise PromptsError(f"{path} is no JSON ({error}); download it again") from error


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(f"{path} cannot be read ({error}); check the path") from error
