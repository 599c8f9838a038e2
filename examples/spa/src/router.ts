/** Which view stands at which address, and what happens when one replaces another. */

import type { SignedLink } from "./api";

export interface View {
  readonly title: string;
  /** The step of signing up that it belongs to, counted from 0, if it is one. */
  readonly step?: number;
  readonly content: readonly Node[];
}

/** What a page of this browser's history knows; a reload keeps it. */
export interface PageState {
  /** The address that the mail was asked for. */
  readonly address?: string;
  readonly link?: SignedLink;
  readonly done?: boolean;
}

type Routes = Readonly<Record<string, () => View>>;

const NAME = "Fernpost";
let routes: Routes = {};
let present: () => View;

/** Show the view of the present address, now and whenever the user goes back or forth. */
export function start(given: Routes, notFound: () => View): void {
  routes = given;
  const atAddress = (): View => (routes[location.pathname.replace(/\/*$/, "/")] ?? notFound)();
  window.addEventListener("popstate", () => show(atAddress));
  render(atAddress);
}

/** Go to another address of these pages; the state stays with it. */
export function go(path: string, state: PageState): void {
  history.pushState(state, "", path);
  showRoute(path);
}

/** Go to another address of these pages, and let no way lead back to the present one. */
export function replace(path: string, state: PageState): void {
  history.replaceState(state, "", path);
  showRoute(path);
}

export function pageState(): PageState {
  return (history.state as PageState | null) ?? {};
}

/** Keep something with the present page, and nothing in its address but the path. */
export function remember(state: PageState): void {
  history.replaceState(state, "", location.pathname);
}

/**
 * Show a view in place of the present one, and move the focus to its heading, which is then read out.
 *
 * @param make makes the view; it is called again when another language is chosen.
 */
export function show(make: () => View): void {
  render(make);
  window.scrollTo(0, 0);
  document.querySelector<HTMLElement>("main h1")?.focus();
}

function showRoute(path: string): void {
  const view = routes[path];
  if (view) show(view);
}

/** Make the present view anew, in another language; what was typed stays. */
export function showAgain(): void {
  const inputs = (): HTMLInputElement[] => [...document.querySelectorAll<HTMLInputElement>("main input[name]")];
  const typed = new Map(inputs().map(({ name, value }) => [name, value]));
  render(present);
  for (const input of inputs()) input.value = typed.get(input.name) ?? input.value;
}

function render(make: () => View): void {
  present = make;
  const { title, step, content } = make();
  document.title = `${title} · ${NAME}`;
  document.querySelector("#view")?.replaceChildren(...content);
  const steps = document.querySelector<HTMLElement>("#steps");
  if (!steps) return;
  steps.hidden = step === undefined;
  [...steps.children].forEach((item, index) => {
    item.toggleAttribute("data-done", step !== undefined && index < step);
    if (index === step) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
}
