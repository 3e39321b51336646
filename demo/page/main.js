// Tabs, the camera, and who is told what the model answers.
import { $, notice } from "./dom.js";
import { Stream } from "./stream.js";
import { addToText, prepareText, showAnswer, showPhotographs } from "./spell.js";
import { prepareFeedback, remember } from "./feedback.js";
import { prepareLearn, practise } from "./learn.js";
import { showModel, leaveModel } from "./model.js";

const TABS = ["spell", "learn", "model"];
let shown = "spell";
let facing = "user";
let address = null; // of a video that was chosen

const stream = new Stream($("video"), {
  answer(found, figures) {
    showAnswer(found, figures);
    if (shown === "learn") practise(found);
    else if (found.event) {
      addToText(found.event);
      remember(figures.picture, found.predicted_class);
    }
  },
  trouble: notice,
});

function show(name) {
  shown = name;
  if (name !== "model") moveStage($(`place-${name}`));
  for (const tab of TABS) {
    const button = $(`tab-${tab}`);
    button.setAttribute("aria-selected", tab === name);
    button.tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  if (name === "model") showModel();
  else leaveModel();
}

// The same picture in both tabs; a video that is moved has to be told to go on.
function moveStage(place) {
  if ($("stage").parentElement === place) return;
  place.append($("stage"));
  if (stream.running) $("video").play();
}

for (const tab of TABS) {
  $(`tab-${tab}`).onclick = () => show(tab);
  $(`tab-${tab}`).onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
    show(next);
    $(`tab-${next}`).focus();
  };
}

async function startCamera() {
  stopVideo();
  try {
    const media = await navigator.mediaDevices.getUserMedia({
      video: { facingMode: facing, width: { ideal: 640 }, height: { ideal: 480 } },
      audio: false,
    });
    const actual = media.getVideoTracks()[0].getSettings().facingMode;
    $("stage").classList.toggle("mirrored", (actual ?? facing) !== "environment");
    $("video").srcObject = media;
    media.getVideoTracks()[0].onended = stop;
  } catch (error) {
    notice(reason(error));
    return;
  }
  await play("Stop camera");
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((d) => d.kind === "videoinput");
  $("flip").hidden = cameras.length < 2;
}

function reason(error) {
  const known = {
    NotAllowedError: "The browser does not let this page use the camera. Allow it in the address bar, then start again.",
    NotFoundError: "There is no camera here. Choose photographs or a video instead.",
    NotReadableError: "Another program uses the camera. Close it, then start again.",
  };
  if (!navigator.mediaDevices) return "Browsers give a camera to pages of this machine (localhost) or with https only.";
  return known[error.name] ?? `The camera cannot be used: ${error.message}`;
}

async function startVideo(file) {
  stopVideo();
  $("stage").classList.remove("mirrored");
  address = URL.createObjectURL(file);
  $("video").src = address;
  try {
    await play("Stop video");
  } catch {
    stop();
    notice(`${file.name} is no video that this browser can play.`);
  }
}

async function play(label) {
  $("hint").hidden = true;
  $("camera").textContent = label;
  await $("video").play();
  stream.start();
}

function stopVideo() {
  stream.stop();
  $("video").srcObject?.getTracks().forEach((track) => track.stop());
  $("video").srcObject = null;
  $("video").removeAttribute("src");
  if (address) URL.revokeObjectURL(address);
  address = null;
}

function stop() {
  stopVideo();
  $("hint").hidden = false;
  $("flip").hidden = true;
  $("camera").textContent = "Start camera";
  $("hand").getContext("2d").clearRect(0, 0, $("hand").width, $("hand").height);
}

function take(list) {
  const files = [...list];
  const video = files.find((file) => file.type.startsWith("video/"));
  if (video) startVideo(video);
  const photographs = files.filter((file) => !file.type.startsWith("video/"));
  if (photographs.length) showPhotographs(photographs);
}

$("camera").onclick = () => (stream.running ? stop() : startCamera());
$("flip").onclick = () => {
  facing = facing === "user" ? "environment" : "user";
  startCamera();
};
$("files").onchange = (event) => {
  take(event.target.files);
  event.target.value = "";
};
document.ondragover = (event) => {
  event.preventDefault();
  $("stage").classList.add("drop");
};
document.ondragleave = () => $("stage").classList.remove("drop");
document.ondrop = (event) => {
  event.preventDefault();
  $("stage").classList.remove("drop");
  take(event.dataTransfer.files);
};
document.onpaste = (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
};
$("video").onended = stop;
prepareText();
prepareFeedback();
prepareLearn({ startCamera: () => stream.running || startCamera() });
