// What the pages share: the key, who speaks, requests, and building elements from text alone.

export const $ = (id) => document.getElementById(id);

/** An element; strings become text and never markup. */
export function el(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function newId(prefix) {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return prefix + "-" + Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/** A random name for this browser, so that a person keeps their variant. */
export function person() {
  let name = localStorage.getItem("hallmark-person");
  if (!name) localStorage.setItem("hallmark-person", (name = newId("person")));
  return name;
}

export function say(text) { $("status").textContent = text; }

export function complain(error) {
  $("problem").textContent = error ? error.message || String(error) : "";
}

let asking = null;

/** One question for a key, however many requests wait for it. */
function askForKey() {
  asking ??= keyGiven().finally(() => { asking = null; });
  return asking;
}

function keyGiven() {
  const dialog = $("key");
  return new Promise((resolve, reject) => {
    $("key-form").onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("hallmark-key", $("key-value").value.trim());
      $("key-value").value = "";
      dialog.close("given");
    };
    dialog.onclose = () =>
      dialog.returnValue === "given" ? resolve() : reject(new Error("An API key is needed."));
    dialog.returnValue = "";
    dialog.showModal();
  });
}

/** The response with status 2xx; otherwise an Error with the server's own words. */
export async function request(path, { method = "GET", body, headers = {}, signal, link } = {}) {
  for (;;) {
    const sent = { "x-hallmark-unit": person(), ...headers };
    const key = sessionStorage.getItem("hallmark-key");
    if (key && !link) sent.authorization = "Bearer " + key;
    if (link) sent["x-hallmark-link"] = link;
    if (body !== undefined) sent["content-type"] = "application/json";
    const response = await fetch(path, {
      method, headers: sent, signal, body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (response.ok) return response;
    if (response.status === 401 && !link) { await askForKey(); continue; }
    const said = await response.json().catch(() => null);
    const error = new Error(said?.error?.message || "The server answered " + response.status + ".");
    error.status = response.status;
    throw error;
  }
}

export async function json(path, options) { return (await request(path, options)).json(); }

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Sends feedback until the server has it: its id makes a repeat harmless. */
export async function sendFeedback(body, options = {}) {
  const whole = options.link ? body : { feedback_id: newId("page"), ...body };
  for (let attempt = 1; ; attempt++) {
    try {
      return await json("/v1/feedback", { method: "POST", body: whole, ...options });
    } catch (error) {
      if (attempt === 4 || (error.status && error.status !== 503)) throw error;
      await pause(300 * 2 ** attempt);
    }
  }
}

let modelName;

/** The model's name as the server lists it first. */
export async function model() {
  modelName ??= (await json("/v1/models")).data[0].id;
  return modelName;
}

/** One turn of a conversation as a list item; ``text`` is where its words go. */
export function turn(role, words) {
  const text = el("p", { className: "text" }, words);
  const speaker = role === "user" ? "You" : role === "assistant" ? "Answer" : "Instructions";
  const item = el("li", { className: role }, el("p", { className: "speaker" }, speaker), text);
  return { item, text };
}
