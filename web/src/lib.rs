//! R-MAE in the browser.
