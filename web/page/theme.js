// Before the first paint, so that nobody who chose a theme sees the other one flash.
try {
  const theme = localStorage.getItem("rmae-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // Storage is forbidden here: the system's theme it is.
}
