"use strict";
// The scripts, packed: a letter is seven bits of what zlib made of one. A browser that cannot unpack them, from before
// 2023, shows what one without JavaScript does.
(async () => {
  if (typeof DecompressionStream === "undefined") return;
  for (const packed of document.querySelectorAll(".packed")) {
    const text = packed.textContent, bytes = new Uint8Array((7 * text.length) >> 3);
    for (let i = 0, n = 0, held = 0, bits = 0; i < text.length; i++) {
      held = ((held << 7) | (text.charCodeAt(i) & 127)) & 0x7fff;
      bits += 7;
      if (bits >= 8) bytes[n++] = held >> (bits -= 8);
    }
    const script = document.createElement("script");
    script.textContent = await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
    document.body.append(script);
  }
})();
