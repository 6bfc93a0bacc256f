// Sound as samples: decoded for the eye, and written as wav for the services.

export const RATE = 16000;

/** Samples of a file (mono, 16 kHz, as the speech models hear it); null where the browser can't read it. */
export async function decode(blob) {
  try {
    const context = new OfflineAudioContext(1, 1, RATE);
    return mono(await context.decodeAudioData(await blob.arrayBuffer()));
  } catch {
    return null;
  }
}

/** Samples of one rate at another. */
export async function resampled(samples, from, to = RATE) {
  if (from === to || samples.length === 0) return samples;
  const context = new OfflineAudioContext(1, Math.ceil((samples.length * to) / from), to);
  const source = context.createBufferSource();
  source.buffer = context.createBuffer(1, samples.length, from);
  source.buffer.copyToChannel(samples, 0);
  source.connect(context.destination);
  source.start();
  return (await context.startRendering()).getChannelData(0);
}

/** A wav file: PCM16, mono. */
export function wav(samples, rate = RATE) {
  const view = new DataView(new ArrayBuffer(44 + 2 * samples.length));
  const text = (at, letters) => [...letters].forEach((each, i) => view.setUint8(at + i, each.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, 36 + 2 * samples.length, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // one channel
  view.setUint32(24, rate, true);
  view.setUint32(28, 2 * rate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, 2 * samples.length, true);
  samples.forEach((each, i) => view.setInt16(44 + 2 * i, Math.round(32767 * Math.max(-1, Math.min(1, each))), true));
  return new Blob([view], { type: "audio/wav" });
}

function mono(buffer) {
  const mixed = new Float32Array(buffer.getChannelData(0));
  for (let channel = 1; channel < buffer.numberOfChannels; channel += 1) {
    buffer.getChannelData(channel).forEach((each, i) => { mixed[i] += each; });
  }
  return buffer.numberOfChannels > 1 ? mixed.map((each) => each / buffer.numberOfChannels) : mixed;
}
