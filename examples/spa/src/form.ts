/** A form that is sent to the API: its fields, their errors, and what it looks like meanwhile. */

import type { Answer, Refusal } from "./api";
import { announce, element } from "./elements";

export interface FieldOptions {
  readonly name: string;
  readonly label: string;
  readonly type: "email" | "text" | "password";
  readonly autocomplete: AutoFill;
  readonly hint?: string;
}

export interface FormOptions {
  readonly fields: readonly FieldOptions[];
  readonly button: string;
  /** What the button says while the answer is awaited. */
  readonly busy: string;
  /** "quiet" where something else is the main thing to do. */
  readonly kind?: "quiet" | "danger";
  readonly send: (values: ReadonlyMap<string, string>) => Promise<Answer>;
  readonly onSuccess: (values: ReadonlyMap<string, string>) => void;
  /** Whether it dealt with the refusal; else the form shows it. */
  readonly onRefusal?: (refusal: Refusal) => boolean;
}

class Field {
  readonly input: HTMLInputElement;
  readonly node: HTMLDivElement;
  private readonly error: HTMLParagraphElement;

  constructor({ name, label, type, autocomplete, hint }: FieldOptions) {
    this.error = element("p", { class: "error", id: `${name}-error` });
    this.input = element("input", {
      id: name,
      name,
      type,
      autocomplete,
      required: true,
      autocapitalize: "none",
      spellcheck: "false",
      "aria-describedby": `${hint ? `${name}-hint ` : ""}${name}-error`,
    });
    this.node = element("div", { class: "field" }, element("label", { for: name }, label), this.input);
    if (hint) this.node.append(element("p", { class: "hint", id: `${name}-hint` }, hint));
    this.node.append(this.error);
    this.input.addEventListener("input", () => this.show([]));
  }

  show(messages: readonly string[]): void {
    this.error.textContent = messages.join("\n");
    if (messages.length > 0) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

/** Make a form. The API is the one judge of what is typed: it knows what is taken and what is easily guessed. */
export function form(options: FormOptions): HTMLFormElement {
  const fields = options.fields.map((field) => new Field(field));
  const alert = element("div", { class: "alert", role: "alert", tabindex: "-1" });
  const button = element("button", { type: "submit", class: options.kind ?? "" }, options.button);
  // Without JavaScript nothing is sent; "post" keeps a password out of the address in any case.
  const made = element("form", { method: "post", novalidate: true }, alert, ...fields.map((field) => field.node));
  const passwords = fields.map((field) => field.input).filter((input) => input.type === "password");
  if (passwords.length > 0) made.append(passwordToggle(passwords));
  made.append(button);

  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (button.getAttribute("aria-disabled")) return;
    alert.textContent = "";
    for (const field of fields) field.show([]);
    const values = new Map(fields.map(({ input }) => [input.name, valueOf(input)]));

    const answer = await whileBusy(button, options, () => options.send(values));
    if (answer.ok) options.onSuccess(values);
    else if (!options.onRefusal?.(answer)) showRefusal(answer, fields, alert);
  });
  return made;
}

/** A password is taken exactly as it was typed. */
function valueOf(input: HTMLInputElement): string {
  return input.autocomplete === "new-password" ? input.value : input.value.trim();
}

/** The button keeps the focus: a button that is `disabled` would lose it. */
async function whileBusy<T>(
  button: HTMLButtonElement,
  { button: label, busy }: FormOptions,
  task: () => Promise<T>,
): Promise<T> {
  button.setAttribute("aria-disabled", "true");
  button.textContent = busy;
  announce(busy);
  try {
    return await task();
  } finally {
    button.removeAttribute("aria-disabled");
    button.textContent = label;
    announce("");
  }
}

/** Show each error at its field, and what belongs to no field above them all. */
function showRefusal({ detail, errors }: Refusal, fields: readonly Field[], alert: HTMLElement): void {
  const elsewhere = new Map(Object.entries(errors));
  const bad = fields.filter(({ input }) => elsewhere.has(input.name));
  for (const field of bad) {
    field.show(elsewhere.get(field.input.name) ?? []);
    elsewhere.delete(field.input.name);
  }
  const rest = [...elsewhere].flatMap(([name, messages]) =>
    name === "_schema" ? messages : messages.map((message) => `${name}: ${message}`),
  );
  if (bad.length === 0 && rest.length === 0) rest.push(detail);
  alert.textContent = rest.join("\n");
  if (bad[0]) {
    announce(bad.length === 1 ? "One field needs another look." : `${bad.length} fields need another look.`);
    bad[0].input.focus();
  } else {
    alert.focus();
  }
}

function passwordToggle(inputs: readonly HTMLInputElement[]): HTMLLabelElement {
  const box = element("input", { type: "checkbox" });
  box.addEventListener("change", () => {
    for (const input of inputs) input.type = box.checked ? "text" : "password";
  });
  return element("label", { class: "toggle" }, box, "Show the passwords");
}
