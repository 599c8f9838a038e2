/** Asking for another mail on the page that waits for the code. */

import { register } from "./api";
import { element } from "./elements";
import { isBusy, whileBusy } from "./form";
import { texts } from "./language";

/**
 * Make the button that asks for another mail. The API gives the same answer whether the cooldown has passed or not:
 * what is said here must be true in each case.
 */
export function sendAgain(address: string): HTMLElement {
  const status = element("p", { role: "status" });
  const button = element("button", { type: "button", class: "inline" }, texts().sendAgain);
  button.addEventListener("click", async () => {
    if (isBusy(button)) return;
    status.textContent = "";
    const answer = await whileBusy(button, texts().sending, () => register(address));
    status.className = answer.ok ? "notice" : "error";
    status.textContent = answer.ok
      ? texts().sentAgain
      : (Object.values(answer.errors).flat().join("\n") || answer.detail);
  });
  return element("div", { class: "again" }, element("p", { class: "hint" }, `${texts().needMail} `, button), status);
}
