// What is kept of the pictures, and "that was wrong": only where the server has a log.
import { $, make } from "./dom.js";

let last = null; // the picture that was answered last, and its answer
let kept = null;

export async function prepareFeedback() {
  const answer = await fetch("/log");
  kept = await answer.json();
  if (!kept.keeps) return;
  const share = Number((100 * kept.share).toPrecision(2));
  const pictures = kept.photographs ? "with" : "without";
  $("privacy").textContent =
    `This server keeps ${share} % of the answers, ${pictures} the pictures, for ${kept.days} days to learn ` +
    `from them, and what you correct here. Nothing goes anywhere else.`;
  $("right").replaceChildren(...kept.labels.map((label) => make("option", {}, label)));
  $("tell").onclick = tell;
  $("forget-last").onclick = forget;
}

export function remember(picture, predicted) {
  if (!kept?.keeps || !picture) return;
  last = { picture, predicted };
  $("feedback").hidden = false;
  $("answered").textContent = predicted;
  $("feedback-said").textContent = "";
  $("forget-last").hidden = true;
}

async function tell() {
  const label = $("right").value;
  const address = `/correct?label=${encodeURIComponent(label)}`;
  const answer = await fetch(address, { method: "POST", body: last.picture });
  const found = await answer.json();
  if (found.id) last.id = found.id;
  $("forget-last").hidden = !found.id;
  $("feedback-said").textContent = found.error ?? `Thank you: ${label} instead of ${last.predicted}.`;
}

async function forget() {
  await fetch(`/log/${last.id}`, { method: "DELETE" });
  $("forget-last").hidden = true;
  $("feedback-said").textContent = "Deleted.";
}
