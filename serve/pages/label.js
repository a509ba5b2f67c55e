import { $, complain, el, json, say, turn } from "/pages/common.js";

const who = () => ({ "x-hallmark-unit": $("name").value.trim() });
let task = null;

async function showAgreement() {
  const found = await json("/v1/labelling/agreement");
  $("agreement").textContent = found.alpha === null
    ? "Labels: " + found.labels + "; " + found.undefined + "."
    : "Labels: " + found.labels + ", people: " + found.labellers + ", answers with several: "
      + found.items + ". Krippendorff's alpha " + found.alpha.toFixed(2) + ", equal pairs "
      + (100 * found.share).toFixed(0) + "%.";
}

async function next() {
  const found = await json("/v1/labelling/next", { headers: who() });
  task = found.task;
  $("task").hidden = !task;
  $("empty").hidden = Boolean(task);
  if (task) {
    $("reason").textContent = "Chosen because: " + task.reason + ". Waiting: " + found.waiting + ".";
    const last = turn("assistant", task.answer).item;
    last.classList.add("judged");
    $("turns").replaceChildren(...task.messages.map((m) => turn(m.role, m.content).item), last);
    const legend = $("labels").querySelector("legend");
    $("labels").replaceChildren(legend, ...found.labels.map((name) => el("p", { className: "choice" },
      el("input", { type: "radio", name: "label", id: "label-" + name, value: name, required: true }),
      el("label", { htmlFor: "label-" + name }, name))));
    $("better").value = "";
    $("task-title").focus();
  }
  await showAgreement();
}

const guarded = (work) => async (event) => {
  event.preventDefault();
  complain(null);
  try { await work(); } catch (error) { complain(error); }
};

$("who").onsubmit = guarded(async () => {
  localStorage.setItem("hallmark-labeller", $("name").value.trim());
  await next();
});
$("label").onsubmit = guarded(async () => {
  const label = document.querySelector("input[name=label]:checked").value;
  const better = $("better").value.trim();
  await json("/v1/labelling/labels", {
    method: "POST", headers: who(),
    body: { request_id: task.request_id, label, better: better || null },
  });
  say("Your label is kept.");
  await next();
});
$("name").value = localStorage.getItem("hallmark-labeller") || "";
