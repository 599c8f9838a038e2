/** Which view stands at which address, and what happens when one replaces another. */

export interface View {
  readonly title: string;
  /** The step of signing up that it belongs to, counted from 0, if it is one. */
  readonly step?: number;
  readonly content: readonly Node[];
}

type Routes = Readonly<Record<string, () => View>>;

const NAME = "Fernpost";
let routes: Routes = {};

/** Show the view of the present address, now and whenever the user goes back or forth. */
export function start(given: Routes, notFound: () => View): void {
  routes = given;
  const present = (): View => (routes[location.pathname.replace(/\/*$/, "/")] ?? notFound)();
  window.addEventListener("popstate", () => show(present()));
  render(present());
}

/** Go to another address of these pages; the state stays with it. */
export function go(path: string, state: object): void {
  history.pushState(state, "", path);
  const view = routes[path];
  if (view) show(view());
}

/** Show a view in place of the present one, and move the focus to its heading, which is then read out. */
export function show(view: View): void {
  render(view);
  window.scrollTo(0, 0);
  document.querySelector<HTMLElement>("main h1")?.focus();
}

function render({ title, step, content }: View): void {
  document.title = `${title} · ${NAME}`;
  document.querySelector("main")?.replaceChildren(...content);
  const steps = document.querySelector<HTMLElement>("#steps");
  if (!steps) return;
  steps.hidden = step === undefined;
  [...steps.children].forEach((item, index) => {
    item.toggleAttribute("data-done", step !== undefined && index < step);
    if (index === step) item.setAttribute("aria-current", "step");
    else item.removeAttribute("aria-current");
  });
}
