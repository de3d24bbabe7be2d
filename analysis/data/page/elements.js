"use strict";
/** Elements of the page. Text is always set as text: nothing here parses HTML. */

/**
 * Create an element.
 * @param {string} tag name of the element
 * @param {Object<string, *>} [properties] attributes; `class` and `text`; `on<event>` a listener
 * @param {...(Node|string|null)} children nodes or texts; null is left out
 * @returns {HTMLElement}
 */
function createElement(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/**
 * Create a labelled select.
 * @param {string} label what is chosen
 * @param {Array<[string, string]>} options value and text of each option
 * @param {function(string): void} onChange called with the chosen value
 * @returns {{element: HTMLElement, select: HTMLSelectElement}}
 */
function createSelect(label, options, onChange) {
  const select = createElement("select", { onchange: () => onChange(select.value) });
  setOptions(select, options);
  return { element: createElement("label", { class: "control" }, `${label} `, select), select };
}

/**
 * Set the options of a select; the chosen one stays if it is still there.
 * @param {HTMLSelectElement} select
 * @param {Array<[string, string]>} options value and text of each option
 */
function setOptions(select, options) {
  const chosen = select.value;
  const isSame = options.length === select.options.length
    && options.every(([value, text], i) => {
      return select.options[i].value === value && select.options[i].text === text;
    });
  if (isSame) return;
  select.replaceChildren(...options.map(([value, text]) => createElement("option", { value, text })));
  if (options.some(([value]) => value === chosen)) select.value = chosen;
}

/**
 * Create a labelled checkbox.
 * @param {string} label
 * @param {boolean} isChecked
 * @param {function(boolean): void} onChange
 * @returns {HTMLElement}
 */
function createCheckbox(label, isChecked, onChange) {
  const input = createElement("input", {
    type: "checkbox", checked: isChecked, onchange: () => onChange(input.checked),
  });
  return createElement("label", { class: "control" }, input, ` ${label}`);
}

/**
 * Create a list of names and values.
 * @param {Array<[string, string|Node]>} facts
 * @returns {HTMLElement}
 */
function createFacts(facts) {
  return createElement("dl", { class: "settings" }, ...facts.flatMap(([name, value]) => [
    createElement("dt", { text: name }), createElement("dd", {}, value),
  ]));
}

/**
 * Create a small table of texts or nodes.
 * @param {string[]} headings
 * @param {Array<Array<string|Node>>} rows
 * @param {string} label name of the table for screen readers
 * @returns {HTMLElement}
 */
function createSmallTable(headings, rows, label) {
  const head = headings.map((text) => createElement("th", { scope: "col", text }));
  return createElement("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label },
    createElement("table", { class: "small" },
      createElement("thead", {}, createElement("tr", {}, ...head)),
      createElement("tbody", {}, ...rows.map((row) => createElement("tr", {},
        ...row.map((cell) => createElement("td", {}, cell)))))));
}
