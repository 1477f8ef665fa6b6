// Counts what is chosen, and chooses all or none at once.
"use strict";
(() => {
  const form = document.querySelector("form[data-choose]");
  if (!form) return;
  const boxes = [...form.querySelectorAll("input[type=checkbox]")];
  const count = form.querySelector("[data-chosen]");
  const tell = () => {
    const chosen = boxes.filter((each) => each.checked).length;
    count.textContent = `${chosen} of ${boxes.length} chosen`;
  };
  const choose = (selector, checked) => {
    const button = form.querySelector(selector);
    button.hidden = false;
    button.addEventListener("click", () => {
      boxes.forEach((each) => { each.checked = checked; });
      tell();
    });
  };
  choose("[data-choose-all]", true);
  choose("[data-choose-none]", false);
  form.addEventListener("change", tell);
  tell();
})();
