/**
 * The texts of these pages in English. A word in braces is replaced by a link or a value.
 *
 * What the API says, such as what is wrong with a password, is not here: it answers in the language of the request.
 */
export const en = {
  language: "English",
  direction: "ltr",

  skip: "Skip to the content",
  languages: "Language",
  steps: "Signing up",
  stepAddress: "Address",
  stepAccount: "Account",
  stepReady: "Ready",
  footer: "A demonstration of flask-rest-registration. Its mails stay on this machine.",

  email: "E-mail address",
  username: "User name",
  password: "Password",
  passwordHint: "At least 8 characters, and hard to guess.",
  passwordConfirm: "Repeat the password",
  showPassword: "Show the password",
  showPasswords: "Show the passwords",
  oneFieldNeedsAnotherLook: "One field needs another look.",
  fieldsNeedAnotherLook: "Some fields need another look.",

  createYourAccount: "Create your account",
  createLead: "Letters to people far away. First we send a mail to your address.",
  next: "Continue",
  sendingMail: "Sending the mail…",
  haveAccount: "Do you have an account? {logIn}",

  lookIntoMailbox: "Look into your mailbox",
  codeLead:
    "A mail with a code should arrive in {mailbox} within a minute. " +
    "Enter the code here, and choose your name and password.",
  yourMailbox: "your mailbox",
  newWindow: "(opens in a new window)",
  otherAddress: "Use another address",
  code: "Code",
  codeHint: "Six digits, valid for 15 minutes.",
  codeNotValid:
    "This code is not valid. It must be from the newest mail, and not older than 15 minutes. " +
    "After several wrong tries you need a new mail. If you have used it already, your account is ready: log in.",
  needMail: "Need a new mail?",
  sendAgain: "Send it again",
  sending: "Sending…",
  sentAgain:
    "The mail was sent now, or when you last asked: between two mails there is a pause, and it grows. " +
    "Only the newest mail's code is valid.",
  noCode: "No code in the mail?",
  noCodeText: "Then open its link, which leads to a page for your name and password.",
  finished: "Finished already?",
  finishedText: "If your account is ready, or the mail says that you have one, {logIn}.",
  createAccount: "Create account",
  creatingAccount: "Creating your account…",

  checkingLink: "Checking the link…",
  takesASecond: "This takes a second.",
  finishAccount: "Finish your account",
  finishLead: "Choose your name and password, and your account is ready.",
  somebodyElse: "Did somebody else ask for this mail? Close this page: nothing was made with your address.",
  linkExpired: "This link has expired",
  linkExpiredText:
    "Such links work for a limited time only, and this one is too old. We will gladly send you a new one.",
  linkInvalid: "This link is not valid",
  linkUsed: "If you have finished your account already, the link has done its work: you can log in.",
  noAccountYet: "No account yet?",
  linkBroken:
    "Some of the link may have been lost on the way. Open it from the mail once more, or have a new one sent.",
  linkIncomplete: "This link is incomplete",
  linkIncompleteText: "This page is opened by the link in the mail that you got when you signed up.",
  linkUnchecked: "The link could not be checked",
  newMail: "Send me a new mail",
  openMailbox: "Open the mailbox",
  tryAgain: "Try again",

  ready: "Your account is ready",
  readyText: "Welcome! Your address is confirmed. From now on you log in with it and your password.",
  goToAccount: "Go to your account",

  logIn: "Log in",
  logInInSentence: "log in",
  loggingIn: "Logging in…",
  noAccount: "No account yet? {signUp}",
  signUp: "Sign up",
  logInFirst: "Log in to see your account.",
  wrongPassword: "This address and this password do not belong together.",
  notVerified: "Confirm your address first: open the link in the mail that you got when you signed up.",
  sessionEnded: "Your session has ended. Please log in again.",

  yourAccount: "Your account",
  loadingAccount: "Loading your account…",
  accountNotLoaded: "Your account could not be loaded",
  logOut: "Log out",
  loggedOut: "You are logged out.",

  notFound: "There is no such page",
  notFoundText: "The address may have a typing error.",

  unreachable: "The server cannot be reached. Check your connection, then try again.",
  status: "The server answered with status {status}. Please try again.",
  tooOften: "That was too often. Please try again later.",
  tooOftenUntil: "That was too often. Please try again {time}.",
};

export type Texts = Readonly<Record<keyof typeof en, string>>;
