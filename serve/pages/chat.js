import { $, complain, el, model, request, say, sendFeedback, turn } from "/pages/common.js";

const messages = [];
let running = null;

/** Calls ``piece`` with each piece of content of a server-sent stream. */
async function read(response, piece) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const events = (held + value).split(/\r?\n\r?\n/);
    held = events.pop();
    for (const event of events) {
      const data = event.split(/\r?\n/).filter((line) => line.startsWith("data:"))
        .map((line) => line.slice(5).trim()).join("\n");
      if (!data || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const content = chunk.choices?.[0]?.delta?.content;
      if (content) piece(content);
    }
  }
}

function opinions(requestId, answer) {
  const thumb = (label, value) => {
    const button = el("button", { type: "button", "aria-pressed": "false" }, label);
    button.onclick = () => tell({ metric: "thumb", value }, "Your opinion is kept.", () => {
      for (const one of [up, down]) one.setAttribute("aria-pressed", String(one === button));
    });
    return button;
  };
  const tell = async (body, done, then) => {
    complain(null);
    try {
      await sendFeedback({ request_id: requestId, ...body });
      then();
      say(done);
    } catch (error) { complain(error); }
  };
  const up = thumb("Helpful", 1);
  const down = thumb("Not helpful", -1);
  const edit = el("button", { type: "button", "aria-expanded": "false" }, "Write a better answer");
  const field = el("textarea", { id: "edit-" + requestId, rows: 4, maxLength: 16000 });
  const form = el("form", { hidden: true },
    el("label", { htmlFor: field.id }, "The better answer"), field,
    el("p", { className: "buttons" }, el("button", { type: "submit" }, "Save it")));
  edit.onclick = () => {
    form.hidden = !form.hidden;
    edit.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) { field.value ||= answer; field.focus(); }
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    if (!field.value.trim()) return;
    tell({ metric: "edit", text: field.value }, "Your better answer is kept.", () => {
      form.hidden = true;
      edit.setAttribute("aria-expanded", "false");
      edit.focus();
    });
  };
  return [
    el("div", { className: "buttons", role: "group", "aria-label": "Your opinion of this answer" },
      up, down, edit), form];
}

async function ask(words) {
  messages.push({ role: "user", content: words });
  const question = turn("user", words).item;
  $("turns").append(question);
  const { item, text } = turn("assistant", "");
  item.setAttribute("aria-busy", "true"); // screen readers wait until it is whole
  $("turns").append(item);
  running = new AbortController();
  busy(true);
  say("The answer is being written.");
  let answer = "";
  try {
    const response = await request("/v1/chat/completions", {
      method: "POST",
      body: { model: await model(), messages, stream: true },
      headers: { "x-hallmark-consent": $("consent").checked ? "train, evaluate, review" : "none" },
      signal: running.signal,
    });
    await read(response, (piece) => {
      answer += piece;
      text.append(piece);
      item.scrollIntoView({ block: "nearest" });
    });
    messages.push({ role: "assistant", content: answer });
    item.append(...opinions(response.headers.get("x-request-id"), answer));
    say("The answer is complete.");
  } catch (error) {
    messages.pop();
    if (error.name === "AbortError") say("Stopped.");
    else { say(""); complain(error); }
    if (!answer) { // the question goes back, to be sent again
      item.remove();
      question.remove();
      $("message").value ||= words;
    }
  } finally {
    item.removeAttribute("aria-busy");
    running = null;
    busy(false);
    $("message").focus();
  }
}

function busy(now) {
  $("send").disabled = now;
  $("stop").hidden = !now;
}

$("ask").onsubmit = (event) => {
  event.preventDefault();
  const words = $("message").value.trim();
  if (!words || running) return;
  complain(null);
  $("message").value = "";
  ask(words);
};
$("message").onkeydown = (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("ask").requestSubmit();
  }
};
$("stop").onclick = () => running?.abort();
