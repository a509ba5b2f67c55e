"use strict";
const form = document.getElementById("filter");
if (form) {
  const flips = Array.from(document.querySelectorAll("article.flip"));
  const texts = flips.map((flip) => flip.textContent.toLowerCase().replace(/\s+/g, " "));
  const shown = document.getElementById("shown");
  const filter = () => {
    const entry = form.elements.entry.value;
    const way = form.elements.way.value;
    const words = form.elements.words.value.toLowerCase().trim().replace(/\s+/g, " ");
    let count = 0;
    flips.forEach((flip, index) => {
      const wanted =
        (!entry || flip.dataset.entry === entry) &&
        (!way || flip.dataset.way === way) &&
        texts[index].includes(words);
      flip.hidden = !wanted;
      count += wanted ? 1 : 0;
    });
    document.querySelectorAll("section.entry-flips").forEach((section) => {
      section.hidden = !section.querySelector("article.flip:not([hidden])");
    });
    shown.textContent = `${count} of ${flips.length} shown`;
  };
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.hidden = false;
  filter();
}
