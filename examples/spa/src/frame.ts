/** What stands around each view: its texts, and the switch for the language. */

import { element } from "./elements";
import { choose, language, LANGUAGES, texts } from "./language";
import type { Texts } from "./texts/en";

/**
 * Show the frame, now and whenever another language is chosen.
 *
 * @param onChoice shows the view again, in the language that was chosen.
 */
export function startFrame(onChoice: () => void): void {
  const buttons = LANGUAGES.map(({ code, name }) => {
    const button = element("button", { type: "button", lang: code }, name);
    button.addEventListener("click", () => {
      choose(code);
      renderFrame(buttons);
      onChoice();
    });
    return button;
  });
  document.querySelector("#languages")?.append(...buttons);
  renderFrame(buttons);
}

function renderFrame(buttons: readonly HTMLButtonElement[]): void {
  const words = texts();
  document.documentElement.lang = language();
  document.documentElement.dir = words.direction;
  for (const node of document.querySelectorAll<HTMLElement>("[data-text]")) {
    node.textContent = words[node.dataset["text"] as keyof Texts];
  }
  for (const node of document.querySelectorAll<HTMLElement>("[data-label]")) {
    node.setAttribute("aria-label", words[node.dataset["label"] as keyof Texts]);
  }
  for (const button of buttons) button.setAttribute("aria-pressed", String(button.lang === language()));
}
