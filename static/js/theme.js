// Runs before the first paint: the chosen theme, and that scripts run at all.
{
  const root = document.documentElement;
  root.classList.add("js");
  let chosen = null;
  try {
    chosen = localStorage.getItem("theme");
  } catch {
    // storage may be refused: the system's theme it is
  }
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
}
