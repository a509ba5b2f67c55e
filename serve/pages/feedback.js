import { $, complain, say, sendFeedback } from "/pages/common.js";

const link = location.hash.slice(1);

$("say").onsubmit = async (event) => {
  event.preventDefault();
  complain(null);
  const thumb = document.querySelector("input[name=thumb]:checked");
  const said = [
    thumb && { metric: "thumb", value: Number(thumb.value) },
    $("edit").value.trim() && { metric: "edit", text: $("edit").value },
    $("comment").value.trim() && { metric: "comment", text: $("comment").value },
  ].filter(Boolean);
  if (!said.length) { say("Say something first."); return; }
  try {
    for (const one of said) await sendFeedback(one, { link });
    $("say").hidden = true;
    $("thanks").hidden = false;
    $("thanks").focus();
  } catch (error) { complain(error); }
};
if (!link) complain(new Error("This page needs the whole link that you were sent."));
