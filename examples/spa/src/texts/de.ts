import type { Texts } from "./en";

export const de: Texts = {
  language: "Deutsch",
  direction: "ltr",

  skip: "Zum Inhalt springen",
  languages: "Sprache",
  steps: "Registrierung",
  stepAddress: "Adresse",
  stepAccount: "Konto",
  stepReady: "Fertig",
  footer: "Eine Vorführung von flask-rest-registration. Ihre E-Mails bleiben auf diesem Rechner.",

  email: "E-Mail-Adresse",
  username: "Benutzername",
  password: "Passwort",
  passwordHint: "Mindestens 8 Zeichen, und schwer zu erraten.",
  passwordConfirm: "Passwort wiederholen",
  showPassword: "Passwort anzeigen",
  showPasswords: "Passwörter anzeigen",
  oneFieldNeedsAnotherLook: "Bitte prüfen Sie ein Feld.",
  fieldsNeedAnotherLook: "Bitte prüfen Sie mehrere Felder.",

  createYourAccount: "Konto anlegen",
  createLead: "Briefe an Menschen in der Ferne. Zuerst schicken wir eine E-Mail an Ihre Adresse.",
  next: "Weiter",
  sendingMail: "Die E-Mail wird gesendet …",
  haveAccount: "Haben Sie schon ein Konto? {logIn}",

  lookIntoMailbox: "Schauen Sie in Ihr Postfach",
  codeLead:
    "Eine E-Mail mit einem Code sollte innerhalb einer Minute in {mailbox} ankommen. " +
    "Geben Sie den Code hier ein, und wählen Sie Namen und Passwort.",
  yourMailbox: "Ihrem Postfach",
  newWindow: "(öffnet ein neues Fenster)",
  otherAddress: "Andere Adresse verwenden",
  code: "Code",
  codeHint: "Sechs Ziffern, 15 Minuten lang gültig.",
  codeNotValid:
    "Dieser Code ist ungültig. Er muss aus der neuesten E-Mail stammen und darf nicht älter als 15 Minuten sein. " +
    "Nach mehreren falschen Versuchen brauchen Sie eine neue E-Mail. " +
    "Haben Sie ihn schon verwendet, dann ist Ihr Konto fertig: Melden Sie sich an.",
  needMail: "Brauchen Sie eine neue E-Mail?",
  sendAgain: "Noch einmal senden",
  sending: "Wird gesendet …",
  sentAgain:
    "Die E-Mail wurde jetzt gesendet oder als Sie zuletzt danach gefragt haben: " +
    "Zwischen zwei E-Mails liegt eine Pause, und sie wird länger. Nur der Code der neuesten E-Mail ist gültig.",
  noCode: "Kein Code in der E-Mail?",
  noCodeText: "Dann öffnen Sie den Link darin. Er führt zu einer Seite für Namen und Passwort.",
  finished: "Schon fertig?",
  finishedText: "Wenn Ihr Konto fertig ist oder die E-Mail sagt, dass Sie schon eines haben, {logIn}.",
  createAccount: "Konto anlegen",
  creatingAccount: "Das Konto wird angelegt …",

  checkingLink: "Der Link wird geprüft …",
  takesASecond: "Das dauert eine Sekunde.",
  finishAccount: "Registrierung abschließen",
  finishLead: "Wählen Sie Namen und Passwort, und Ihr Konto ist fertig.",
  somebodyElse:
    "Hat jemand anderes um diese E-Mail gebeten? Schließen Sie diese Seite: Mit Ihrer Adresse ist nichts geschehen.",
  linkExpired: "Dieser Link ist abgelaufen",
  linkExpiredText:
    "Solche Links gelten nur für begrenzte Zeit, und dieser ist zu alt. Wir schicken Ihnen gern einen neuen.",
  linkInvalid: "Dieser Link ist ungültig",
  linkUsed: "Wenn Ihr Konto schon fertig ist, hat der Link seine Arbeit getan: Sie können sich anmelden.",
  noAccountYet: "Noch kein Konto?",
  linkBroken:
    "Vielleicht ging unterwegs ein Teil des Links verloren. " +
    "Öffnen Sie ihn noch einmal aus der E-Mail, oder lassen Sie sich einen neuen schicken.",
  linkIncomplete: "Dieser Link ist unvollständig",
  linkIncompleteText: "Diese Seite wird vom Link in der E-Mail geöffnet, die Sie bei der Registrierung bekommen haben.",
  linkUnchecked: "Der Link konnte nicht geprüft werden",
  newMail: "Neue E-Mail senden",
  openMailbox: "Postfach öffnen",
  tryAgain: "Noch einmal versuchen",

  ready: "Ihr Konto ist fertig",
  readyText: "Willkommen! Ihre Adresse ist bestätigt. Von nun an melden Sie sich mit ihr und Ihrem Passwort an.",
  goToAccount: "Zu Ihrem Konto",

  logIn: "Anmelden",
  logInInSentence: "melden Sie sich an",
  loggingIn: "Sie werden angemeldet …",
  noAccount: "Noch kein Konto? {signUp}",
  signUp: "Registrieren",
  logInFirst: "Melden Sie sich an, um Ihr Konto zu sehen.",
  wrongPassword: "Diese Adresse und dieses Passwort gehören nicht zusammen.",
  notVerified: "Bestätigen Sie zuerst Ihre Adresse: Öffnen Sie den Link in der E-Mail, die Sie bekommen haben.",
  sessionEnded: "Ihre Sitzung ist beendet. Bitte melden Sie sich noch einmal an.",

  yourAccount: "Ihr Konto",
  loadingAccount: "Ihr Konto wird geladen …",
  accountNotLoaded: "Ihr Konto konnte nicht geladen werden",
  logOut: "Abmelden",
  loggedOut: "Sie sind abgemeldet.",

  notFound: "Diese Seite gibt es nicht",
  notFoundText: "Vielleicht ist in der Adresse ein Tippfehler.",

  unreachable: "Der Server ist nicht erreichbar. Prüfen Sie Ihre Verbindung, und versuchen Sie es noch einmal.",
  status: "Der Server hat mit dem Status {status} geantwortet. Bitte versuchen Sie es noch einmal.",
  tooOften: "Das war zu oft. Bitte versuchen Sie es später noch einmal.",
  tooOftenUntil: "Das war zu oft. Bitte versuchen Sie es {time} noch einmal.",
};
