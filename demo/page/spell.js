// The tab Spell: what is seen, the text that grows, and photographs.
import { $, make, notice, percent, spoken } from "./dom.js";
import { remember } from "./feedback.js";
import { drawHand, drawOver } from "./hand.js";

const MAX_PHOTOGRAPHS = 32;
const SHOWN = 320; // pixels of a photograph's width on the page

export function showAnswer(found, { latency, rate, width, height }) {
  const ranked = Object.entries(found.all_predictions).sort((a, b) => b[1] - a[1]);
  const [best, share] = ranked[0];
  $("letter").textContent = best === "nothing" ? "–" : best;
  $("letter").classList.toggle("word", best.length > 1 && best !== "nothing");
  $("confidence").textContent = `${best}, ${percent(share)}`;
  $("hold").style.width = percent(found.progress);
  fillBars($("bars"), ranked.slice(1, 5));
  drawHand($("hand"), width, height, found.landmarks);
  const pace = rate ? `${rate.toFixed(1)} frames/s, ` : "";
  $("figures").textContent =
    `${pace}${Math.round(latency)} ms from frame to letter (${Math.round(found.server_ms)} ms server)` +
    ` · ${found.model.name} version ${found.model.version}`;
}

function fillBars(list, ranked) {
  while (list.children.length < ranked.length) {
    list.append(make("li", {}, make("span"), make("meter", { min: 0, max: 1 }), make("span")));
  }
  ranked.forEach(([sign, share], i) => {
    const [name, bar, number] = list.children[i].children;
    name.textContent = sign;
    bar.value = share;
    bar.setAttribute("aria-label", sign);
    number.textContent = percent(share);
  });
}

export function addToText(event) {
  const text = $("text");
  text.value = text.value.slice(0, Math.max(0, text.value.length - event.removes)) + event.text;
  $("said").textContent = event.sign === "del" ? "deleted" : spoken(event.text);
}

export async function showPhotographs(files) {
  const photographs = files.slice(0, MAX_PHOTOGRAPHS);
  if (files.length > photographs.length) {
    notice(`Only the first ${MAX_PHOTOGRAPHS} of ${files.length} photographs are answered.`);
  }
  for (const file of photographs) await showPhotograph(file);
}

async function showPhotograph(file) {
  const item = make("li", {}, make("span", {}, file.name));
  $("photographs").prepend(item);
  const said = make("p", {}, "…");
  item.append(said);
  try {
    const answer = await fetch("/predict", { method: "POST", body: file });
    const found = await answer.json();
    if (found.error) throw new Error(found.error);
    said.replaceChildren(make("strong", {}, found.predicted_class), ` ${percent(found.confidence)}`);
    item.prepend(await thumbnail(file, found.landmarks));
    remember(file, found.predicted_class);
    $("said").textContent = `${file.name}: ${found.predicted_class}`;
  } catch (error) {
    said.textContent = error instanceof TypeError ? "The page's own server is away." : error.message;
    said.className = "error";
    $("said").textContent = `${file.name}: ${said.textContent}`;
  }
}

async function thumbnail(file, landmarks) {
  const picture = await createImageBitmap(file);
  const canvas = make("canvas", { role: "img", "aria-label": `${file.name}, as it was sent` });
  canvas.width = SHOWN;
  canvas.height = Math.max(1, Math.round((SHOWN * picture.height) / picture.width));
  const pen = canvas.getContext("2d");
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  drawOver(pen, canvas.width, canvas.height, landmarks);
  return canvas;
}

export function prepareText() {
  $("copy").onclick = async () => {
    await navigator.clipboard.writeText($("text").value);
    $("said").textContent = "copied";
  };
  $("speak").onclick = () => {
    speechSynthesis.cancel();
    speechSynthesis.speak(new SpeechSynthesisUtterance($("text").value));
  };
  $("clear").onclick = () => {
    $("text").value = "";
    $("text").focus();
  };
  if (!("speechSynthesis" in window)) $("speak").hidden = true;
}
