/** A form that is sent to the API: its fields, their errors, and what it looks like meanwhile. */

import type { Answer, Refusal } from "./api";
import { announce, element } from "./elements";
import { texts } from "./language";

export interface FieldOptions {
  readonly name: string;
  readonly label: string;
  readonly type: "email" | "text" | "password";
  readonly autocomplete: AutoFill | "nickname";
  /** Which keyboard a phone shows. */
  readonly inputmode?: "numeric";
  readonly hint?: string;
  /** What the field has from the start, and cannot be changed. */
  readonly fixed?: string;
  /** What stands below the field. */
  readonly below?: Node;
}

export interface FormOptions<Body> {
  readonly fields: readonly FieldOptions[];
  readonly button: string;
  /** What the button says while the answer is awaited. */
  readonly busy: string;
  readonly send: (values: Values) => Promise<Answer<Body>>;
  readonly onSuccess: (values: Values, body: Body) => void;
  /** Whether it dealt with the refusal; else the form shows it. */
  readonly onRefusal?: (refusal: Refusal) => boolean;
}

/** Give what a field of this name has. */
export type Values = (name: string) => string;

class Field {
  readonly input: HTMLInputElement;
  readonly node: HTMLDivElement;
  private readonly error: HTMLParagraphElement;

  constructor({ name, label, type, autocomplete, inputmode, hint, fixed, below }: FieldOptions) {
    this.error = element("p", { class: "error", id: `${name}-error` });
    this.input = element("input", {
      id: name,
      name,
      type,
      autocomplete,
      inputmode: inputmode ?? false,
      value: fixed ?? "",
      readonly: fixed !== undefined,
      required: fixed === undefined,
      autocapitalize: "none",
      spellcheck: "false",
      dir: name === "username" ? "auto" : "ltr",
      "aria-describedby": `${hint ? `${name}-hint ` : ""}${name}-error`,
    });
    this.node = element("div", { class: "field" }, element("label", { for: name }, label), this.input);
    if (hint) this.node.append(element("p", { class: "hint", id: `${name}-hint` }, hint));
    this.node.append(this.error);
    if (below) this.node.append(below);
    this.input.addEventListener("input", () => this.show([]));
  }

  /** What was typed: a password exactly so, everything else without the blanks around it. */
  get value(): string {
    return this.input.autocomplete.endsWith("-password") ? this.input.value : this.input.value.trim();
  }

  show(messages: readonly string[]): void {
    this.error.textContent = messages.join("\n");
    if (messages.length > 0) this.input.setAttribute("aria-invalid", "true");
    else this.input.removeAttribute("aria-invalid");
  }
}

/** Make a form. The API is the one judge of what is typed: it knows what is taken and what is easily guessed. */
export function form<Body>(options: FormOptions<Body>): HTMLFormElement {
  const fields = options.fields.map((field) => new Field(field));
  const alert = element("div", { class: "alert", role: "alert", tabindex: "-1" });
  const button = element("button", { type: "submit" }, options.button);
  // Without JavaScript nothing is sent; "post" keeps a password out of the address in any case.
  const made = element("form", { method: "post", novalidate: true }, alert, ...fields.map((field) => field.node));
  const passwords = fields.map((field) => field.input).filter((input) => input.type === "password");
  if (passwords.length > 0) made.append(passwordToggle(passwords));
  made.append(button);

  made.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (isBusy(button)) return;
    alert.textContent = "";
    for (const field of fields) field.show([]);
    const typed = new Map(fields.map(({ input, value }) => [input.name, value]));
    const values: Values = (name) => typed.get(name) ?? "";

    const answer = await whileBusy(button, options.busy, () => options.send(values));
    if (answer.ok) options.onSuccess(values, answer.body);
    else if (!options.onRefusal?.(answer)) showRefusal(answer, fields, alert);
  });
  return made;
}

export function isBusy(button: HTMLButtonElement): boolean {
  return button.hasAttribute("aria-disabled");
}

/** Let a button say what it waits for. It keeps the focus: a button that is `disabled` would lose it. */
export async function whileBusy<T>(button: HTMLButtonElement, busy: string, task: () => Promise<T>): Promise<T> {
  const label = button.textContent;
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
    announce(bad.length === 1 ? texts().oneFieldNeedsAnotherLook : texts().fieldsNeedAnotherLook);
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
  return element("label", { class: "toggle" }, box, inputs.length > 1 ? texts().showPasswords : texts().showPassword);
}
