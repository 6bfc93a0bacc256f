// From the microphone to a wav file that every service reads.

import { el } from "../../dom.js";
import { resampled, wav } from "./sound.js";

const LONGEST = 120; // seconds

const REFUSALS = {
  NotAllowedError: "The browser was not allowed to use the microphone. Allow it for this page, or choose a file.",
  NotFoundError: "No microphone was found. Connect one, or choose a file.",
  NotReadableError: "The microphone is in use by another program. Close that, or choose a file.",
};

/** A button that records: `set` gets the file, `problem` a sentence where recording fails, and null where it begins. */
export function recordButton(set, problem) {
  const button = el("button", { type: "button", className: "record", "aria-pressed": "false" }, "Record");
  let recording = null;
  const end = async () => {
    const ending = recording;
    recording = null;
    button.setAttribute("aria-pressed", "false");
    button.textContent = "Record";
    set(await ending.stop());
  };
  const begin = async () => {
    button.disabled = true;
    try {
      recording = await record((seconds) => {
        if (recording === null) return;
        button.textContent = `Stop (${seconds.toFixed(0)} s)`;
        if (seconds >= LONGEST || !button.isConnected) end(); // another form may have been chosen meanwhile
      });
      button.textContent = "Stop (0 s)";
      button.setAttribute("aria-pressed", "true");
      problem(null);
    } catch (error) {
      problem(error.message);
    } finally {
      button.disabled = false;
      button.focus();
    }
  };
  button.addEventListener("click", () => (recording === null ? begin() : end()));
  return button;
}

/** A recording that has begun; its `stop` makes a file of it. */
async function record(onSeconds) {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    throw new Error("The browser records on https pages and on localhost only. Choose a file here.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (error) {
    throw new Error(REFUSALS[error.name] ?? "The microphone can't be used. Choose a file instead.");
  }
  const context = new AudioContext();
  const chunks = [];
  const seconds = () => chunks.reduce((sum, each) => sum + each.length, 0) / context.sampleRate;

  await context.audioWorklet.addModule(new URL("recorder-worklet.js", import.meta.url));
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  node.port.onmessage = ({ data }) => chunks.push(data);
  context.createMediaStreamSource(stream).connect(node);
  const timer = setInterval(() => onSeconds(seconds()), 250);

  return {
    async stop() {
      clearInterval(timer);
      stream.getTracks().forEach((track) => track.stop());
      const rate = context.sampleRate;
      await context.close();
      const samples = new Float32Array(await new Blob(chunks).arrayBuffer());
      return new File([wav(await resampled(samples, rate))], "recording.wav", { type: "audio/wav" });
    },
  };
}
