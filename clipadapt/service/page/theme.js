// Before anything is painted: the colours that were chosen on this page last time. Without a choice the system's apply.
{
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
