import { $, complain, el, json, say, sendFeedback } from "/pages/common.js";

let answers = null;
const buttons = [...document.querySelectorAll("[data-vote]")];

async function showBoard() {
  const board = await json("/v1/arena/board");
  $("board-note").textContent = board.undefined
    ? "Strengths are not known yet: " + board.undefined + "."
    : board.votes ? board.votes + " votes; strength in log-odds, 0 is the mean." : "No votes yet.";
  $("board").replaceChildren(...board.standings.map((one) => el("tr", {},
    el("td", {}, one.variants.join(", ") + " (" + one.checkpoint.replace("sha256:", "").slice(0, 12) + ")"),
    ...[one.strength === null ? "not known" : one.strength.toFixed(2),
      one.votes, one.wins, one.losses, one.ties].map((cell) => el("td", {}, String(cell))))));
}

const votable = (now) => buttons.forEach((button) => { button.disabled = !now; });

$("ask").onsubmit = async (event) => {
  event.preventDefault();
  const content = $("message").value.trim();
  if (!content) return;
  complain(null);
  $("send").disabled = true;
  say("Both answers are being written.");
  try {
    const battle = await json("/v1/arena/battles", {
      method: "POST",
      body: { messages: [{ role: "user", content }] },
    });
    answers = battle.answers;
    $("answer-a").textContent = answers[0].text;
    $("answer-b").textContent = answers[1].text;
    $("battle").hidden = false;
    votable(true);
    say("Both answers are here. Vote for one.");
    $("a-title").focus();
  } catch (error) { say(""); complain(error); }
  $("send").disabled = false;
};

for (const button of buttons) {
  button.onclick = async () => {
    const [a, b] = answers.map((one) => one.request_id);
    const choice = button.dataset.vote;
    const tie = choice.startsWith("both");
    const body = tie ? { ranking: [[a, b]], label: choice }
      : { ranking: choice === "a" ? [a, b] : [b, a] };
    complain(null);
    votable(false);
    try {
      await sendFeedback({ metric: "arena", ...body });
      say("Your vote is kept.");
      $("message").focus();
      await showBoard();
    } catch (error) { votable(true); complain(error); }
  };
}

showBoard().catch(complain);
