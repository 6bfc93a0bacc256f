"""What some eyes, ears and screens could not read of a page."""

from __future__ import annotations

from playwright.sync_api import Page

CONTRASTS = """() => {
  const channel = (c) => { c /= 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4 };
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const colour = (text) => text.match(/[\\d.]+/g).map(Number);
  const behind = (node) => {
    for (; node; node = node.parentElement) {
      const found = colour(getComputedStyle(node).backgroundColor);
      if (found[3] !== 0) return found;
    }
    return [255, 255, 255];
  };
  const low = [];
  for (const node of document.querySelectorAll("body *")) {
    const says = [...node.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim());
    if (!says || !node.checkVisibility() || node.closest("noscript")) continue;
    const [one, other] = [colour(getComputedStyle(node).color), behind(node)].map(light);
    const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    if (ratio < 4.5) low.push(`${node.tagName}.${node.className} "${node.textContent}": ${ratio.toFixed(2)}`);
  }
  return low;
}"""
"""Texts whose contrast WCAG 2.2 (1.4.3) calls too low."""

NAMELESS = """() => [...document.querySelectorAll("input, select, textarea, button, audio, [role=img]")]
  .filter((each) => each.checkVisibility() && !(each.labels?.length || each.textContent.trim()
    || each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")))
  .map((each) => each.outerHTML)"""
"""Controls and pictures that a screen reader has no name for."""

TOO_WIDE = """() => document.documentElement.scrollWidth > innerWidth
  ? [`the page is ${document.documentElement.scrollWidth} wide`] : []"""
"""Whether one must scroll sideways."""


def complaints(page: Page) -> list[str]:
    """All of them, of what is shown now."""
    return [each for script in (CONTRASTS, NAMELESS, TOO_WIDE) for each in page.evaluate(script)]
