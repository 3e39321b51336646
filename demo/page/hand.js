// Draws the 21 points of a hand.
const BONES = [
  [0, 1, 2, 3, 4], [0, 5, 6, 7, 8], [9, 10, 11, 12], [13, 14, 15, 16], [0, 17, 18, 19, 20], [5, 9, 13, 17],
];
const COLOURS = ["#ffb000", "#64b5ff", "#4de3a1", "#ff7fc4", "#c9a2ff", "#ffffff"];

export function drawHand(canvas, width, height, landmarks) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, width, height);
  drawOver(pen, width, height, landmarks);
}

export function drawOver(pen, width, height, landmarks) {
  if (!landmarks) return;
  const at = landmarks.map(([x, y]) => [x * width, y * height]);
  const thick = Math.max(2, width / 160);
  BONES.forEach((bone, i) => {
    for (const [style, extra] of [["rgba(0,0,0,.55)", thick], [COLOURS[i], 0]]) {
      pen.beginPath();
      bone.forEach((p, k) => (k ? pen.lineTo(...at[p]) : pen.moveTo(...at[p])));
      pen.lineWidth = thick + extra;
      pen.strokeStyle = style;
      pen.stroke();
    }
  });
  for (const [x, y] of at) {
    pen.beginPath();
    pen.arc(x, y, thick, 0, 7);
    pen.fillStyle = "#fff";
    pen.fill();
  }
}
