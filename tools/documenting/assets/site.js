// SPDX-License-Identifier: Apache-2.0
// Pictures in two versions follow the page's scheme, which its reader may have chosen, rather than the system's.
function showPictures() {
  const dark = document.body.getAttribute("data-md-color-scheme") === "slate";
  for (const source of document.querySelectorAll("picture source")) source.media = dark ? "all" : "not all";
}
showPictures();
new MutationObserver(showPictures).observe(document.body, {attributeFilter: ["data-md-color-scheme"]});
