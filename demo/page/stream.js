// Frames of a playing video to the gateway, answers back. At most two frames are on
// their way; if the server is slow, fewer are sent.
const LONGEST = 480; // pixels of the longer side that is sent
const RATE = 15; // frames a second, at most
const ON_THE_WAY = 2;
const LOST_MS = 5000;
const HEADER_BYTES = 12;

export class Stream {
  constructor(video, { answer, trouble }) {
    Object.assign(this, { video, answer, trouble });
    this.canvas = document.createElement("canvas");
    this.waiting = [];
    this.pictures = new Map(); // of the frames on their way, by their time
    this.answered = [];
    this.running = false;
  }

  start() {
    if (this.running) return;
    this.running = true;
    this.connect();
    this.timer = setInterval(() => this.send(), 1000 / RATE);
  }

  stop() {
    this.running = false;
    clearInterval(this.timer);
    clearTimeout(this.again);
    this.socket?.close();
    this.trouble("");
  }

  connect() {
    if (!this.running) return;
    if (document.hidden) { // it would show nothing, and take a place from others
      this.again = setTimeout(() => this.connect(), 1000);
      return;
    }
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const socket = (this.socket = new WebSocket(`${scheme}://${location.host}/frames`));
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => {
      this.waiting = [];
      if (!this.running || socket !== this.socket) return;
      this.trouble(event.reason || "The page's own server is away. Trying again …");
      this.again = setTimeout(() => this.connect(), 1000);
    };
  }

  send() {
    const { video, socket } = this;
    const now = performance.now();
    this.waiting = this.waiting.filter((sent) => now - sent < LOST_MS);
    if (socket.readyState !== WebSocket.OPEN || this.waiting.length >= ON_THE_WAY) return;
    if (document.hidden || video.readyState < 2 || video.paused || video.ended) return;
    const scale = Math.min(1, LONGEST / Math.max(video.videoWidth, video.videoHeight));
    const width = Math.round(video.videoWidth * scale);
    const height = Math.round(video.videoHeight * scale);
    if (!width || !height) return;
    this.canvas.width = width;
    this.canvas.height = height;
    this.canvas.getContext("2d").drawImage(video, 0, 0, width, height);
    this.waiting.push(now);
    this.canvas.toBlob(async (blob) => {
      if (!blob) return;
      this.pictures.set(now, blob);
      const header = new DataView(new ArrayBuffer(HEADER_BYTES));
      header.setFloat64(0, now, true);
      header.setUint16(8, width, true);
      header.setUint16(10, height, true);
      const frame = await new Blob([header, blob]).arrayBuffer();
      if (socket.readyState === WebSocket.OPEN) socket.send(frame);
    }, "image/jpeg", 0.85);
  }

  receive(found) {
    const now = performance.now();
    this.waiting = this.waiting.filter((sent) => sent > found.sent);
    const picture = this.pictures.get(found.sent);
    for (const sent of this.pictures.keys()) if (sent <= found.sent) this.pictures.delete(sent);
    if (found.away || found.error) {
      this.trouble(found.away ? `No answer: ${found.away}. Trying again …` : found.error);
      return;
    }
    this.trouble("");
    this.answered = [...this.answered.filter((then) => now - then < 3000), now];
    const span = (now - this.answered[0]) / 1000;
    const rate = span > 0.3 ? (this.answered.length - 1) / span : null;
    const { width, height } = this.canvas;
    this.answer(found, { latency: now - found.sent, rate, width, height, picture });
  }
}
