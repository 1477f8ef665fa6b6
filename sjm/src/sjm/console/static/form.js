// Who writes an expression chooses it. A target looks as its kind does. A long list of schedules can be narrowed.
"use strict";
(() => {
  document.querySelectorAll("[data-chooses]").forEach((text) => {
    const radio = document.getElementById(text.dataset.chooses);
    const choose = () => { if (text.value) radio.checked = true; };
    text.addEventListener("input", choose);
    radio.addEventListener("change", () => text.focus());
  });
  document.querySelectorAll("[data-placeholder-of]").forEach((text) => {
    const select = document.getElementById(text.dataset.placeholderOf);
    const show = () => { text.placeholder = select.value === "sns" ? text.dataset.placeholderSns : text.dataset.placeholderHttp; };
    select.addEventListener("change", show);
    show(); // the browser may have kept the choice of before
  });
  const filter = document.querySelector("[data-filter]");
  if (!filter) return;
  document.querySelector("[data-filter-field]").hidden = false;
  const choices = [...document.querySelectorAll("[data-choice]")];
  filter.addEventListener("input", (event) => {
    event.stopPropagation();
    const wanted = filter.value.trim().toLowerCase();
    choices.forEach((each) => {
      each.hidden = !each.textContent.toLowerCase().includes(wanted) && !each.querySelector("input").checked;
    });
  });
  // The form is not sent by Enter in this field.
  filter.addEventListener("keydown", (event) => { if (event.key === "Enter") event.preventDefault(); });
})();
