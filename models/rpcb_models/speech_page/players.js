// Sounds beside one another: each with its picture and its player, all on one scale.

import { el, sizeOf } from "../../dom.js";
import { analyse, draw } from "./spectrogram.js";
import { decode } from "./sound.js";

/** A group of figures for sounds: [{ name, blob }]. */
export async function players(sounds) {
  const heard = await Promise.all(sounds.map(async ({ name, blob }) => {
    const samples = await decode(blob);
    return { name, blob, analysis: samples === null ? null : analyse(samples) };
  }));
  const analyses = heard.map((each) => each.analysis).filter((each) => each !== null);
  const scale = {
    loudest: Math.max(...analyses.map((each) => each.loudest)),
    seconds: Math.max(...analyses.map((each) => each.seconds)),
  };
  const group = el("div", { className: "players" }, ...heard.map((each) => player(each, scale)));
  group.addEventListener("play", ({ target }) => {
    group.querySelectorAll("audio").forEach((each) => { if (each !== target) each.pause(); });
  }, true);
  return group;
}

function player({ name, blob, analysis }, scale) {
  const sound = el("audio", { controls: true, src: URL.createObjectURL(blob), preload: "metadata" });
  sound.setAttribute("aria-label", name);
  const facts = analysis === null ? sizeOf(blob.size) : `${analysis.seconds.toFixed(1)} s, ${sizeOf(blob.size)}`;
  const caption = el("figcaption", {}, el("strong", {}, name), el("span", { className: "quiet" }, facts));
  if (analysis === null) {
    const why = "This browser can't play sound of this kind. The services may still read it.";
    return el("figure", {}, caption, el("p", { className: "quiet" }, why));
  }
  const picture = draw(analysis, scale, name);
  follow(sound, picture);
  return el("figure", {}, caption, picture, sound);
}

/** The line in the picture goes with the sound, and the sound goes where the picture is clicked. */
function follow(sound, picture) {
  const move = () => {
    picture.playheadAt(sound.currentTime);
    if (!sound.paused) requestAnimationFrame(move);
  };
  sound.addEventListener("play", move);
  sound.addEventListener("seeked", move);
  picture.addEventListener("click", (event) => {
    const second = picture.secondAt(event);
    if (second >= 0 && second < sound.duration) sound.currentTime = second;
  });
}
