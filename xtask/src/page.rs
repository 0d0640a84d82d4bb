//! The page: built by trunk, and looked at in a real browser.

use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::needs;
use crate::serve::Server;
use crate::toolbox::Toolbox;
use crate::webdriver::Browser;

/// How long the page may take to come to its verdict, on a slow machine with a
/// GPU that is simulated.
const PATIENCE: Duration = Duration::from_secs(300);

/// What the page says: the verdict's state and text, and both engines' lines.
const WHAT_IT_SAYS: &str = "
    const text = (selector) => document.querySelector(selector).innerText.replaceAll('\\n', ' ');
    const { state } = document.querySelector('#verdict').dataset;
    return [state, text('#verdict'), text('#cpu'), text('#webgpu')];
";

/// Builds the page into `dist/` with a cargo profile.
///
/// # Errors
/// When the build fails.
pub(crate) fn build(tools: &Toolbox, profile: &str) -> Result<PathBuf> {
    tools.run(tools.command("trunk").args(["build", "--cargo-profile", profile]))?;
    Ok(tools.root().join("dist"))
}

/// Opens the built page in a browser and waits until it finds both engines fit.
/// A picture of the page is left in `dist/page.png`, also when it failed.
///
/// # Errors
/// When it does not, or when the browser's console shows an error.
pub(crate) fn look(tools: &Toolbox, dist: PathBuf) -> Result<()> {
    let picture = dist.join("page.png");
    let server = Server::bind(dist, 0)?;
    let address = format!("http://{}/", server.address()?);
    std::thread::spawn(move || server.run());
    let browser = open_browser(tools)?;
    browser.open(&address)?;
    let said = wait_for_verdict(&browser);
    std::fs::write(&picture, browser.screenshot()?).context("saving the picture of the page")?;
    let said = said?;
    println!("The page says: {}\nIts picture is in {}", said.join(" | "), picture.display());
    check_console(&browser)?;
    if said[0] != "good" {
        bail!("the page's verdict: {}", said[1]);
    }
    Ok(())
}

/// A browser with the flags of the browser tests.
fn open_browser(tools: &Toolbox) -> Result<Browser> {
    let driver = needs::chromedriver(tools).context("no chromedriver; run `cargo xtask setup`")?;
    let file = tools.root().join("web").join("webdriver.json");
    let text = std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let mut capabilities: Value =
        serde_json::from_str(&text).with_context(|| format!("in {}", file.display()))?;
    capabilities["goog:loggingPrefs"] = json!({ "browser": "ALL" });
    Browser::start(&mut tools.command(driver), &capabilities)
}

fn wait_for_verdict(browser: &Browser) -> Result<Vec<String>> {
    let start = Instant::now();
    loop {
        let said: Vec<String> = serde_json::from_value(browser.ask(WHAT_IT_SAYS)?)?;
        if matches!(said[0].as_str(), "good" | "bad") {
            return Ok(said);
        }
        if start.elapsed() > PATIENCE {
            bail!("no verdict within {} s; the page says: {}", PATIENCE.as_secs(), said.join(" | "));
        }
        sleep(Duration::from_millis(200));
    }
}

/// Anything that broke the page's security policy, or was not found, shows here.
fn check_console(browser: &Browser) -> Result<()> {
    let entries = browser.console()?;
    entries.iter().for_each(|(level, message)| println!("console {level}: {message}"));
    match entries.iter().find(|(level, _)| level == "SEVERE") {
        Some((_, message)) => bail!("the browser's console shows an error: {message}"),
        None => Ok(()),
    }
}
