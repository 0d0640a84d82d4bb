//! The system's package managers, and what they call what we need.

use anyhow::{Context, Result, bail};

use crate::toolbox::Toolbox;

/// A package manager that this program can drive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manager {
    /// Debian, Ubuntu and their kin.
    Apt,
    /// Fedora and its kin.
    Dnf,
    /// Arch and its kin.
    Pacman,
    /// Homebrew, on macOS.
    Brew,
}

/// Something that only the system can provide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Package {
    /// A C compiler and linker.
    Compiler,
    /// The Vulkan loader, and Mesa's software driver (lavapipe).
    Vulkan,
    /// Chromium, and the driver that lets tests steer it.
    Browser,
    /// Node and npm.
    Node,
}

impl Manager {
    const ALL: [Self; 4] = [Self::Apt, Self::Dnf, Self::Pacman, Self::Brew];

    /// The package manager of this machine.
    pub(crate) fn detect(tools: &Toolbox) -> Option<Self> {
        let present = |manager: &Self| tools.find(manager.program()).is_some();
        Self::ALL.into_iter().find(present)
    }

    fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
            Self::Brew => "brew",
        }
    }

    /// What the manager calls a package; nothing where it does not carry it, or
    /// where the system needs none (macOS has Metal instead of Vulkan).
    fn names(self, package: Package) -> &'static [&'static str] {
        match (self, package) {
            (Self::Apt, Package::Compiler) => &["build-essential"],
            (Self::Dnf, Package::Compiler) => &["gcc"],
            (Self::Pacman, Package::Compiler) => &["base-devel"],
            (Self::Apt, Package::Vulkan) => &["mesa-vulkan-drivers", "libvulkan1"],
            (Self::Dnf, Package::Vulkan) => &["mesa-vulkan-drivers", "vulkan-loader"],
            (Self::Pacman, Package::Vulkan) => &["vulkan-swrast", "vulkan-icd-loader"],
            (Self::Apt, Package::Browser) => &["chromium", "chromium-driver"],
            (Self::Dnf, Package::Browser) => &["chromium", "chromedriver"],
            (Self::Pacman, Package::Browser) => &["chromium"],
            (Self::Apt | Self::Pacman, Package::Node) => &["nodejs", "npm"],
            (Self::Dnf, Package::Node) => &["nodejs", "nodejs-npm"],
            (Self::Brew, Package::Node) => &["node"],
            (Self::Brew, _) => &[],
        }
    }

    /// The commands that install packages, the first word being the program.
    fn commands(self, names: &[&str]) -> Vec<Vec<String>> {
        let (before, install): (&[&str], &[&str]) = match self {
            Self::Apt => {
                (&["apt-get", "update"], &["apt-get", "install", "--yes", "--no-install-recommends"])
            }
            Self::Dnf => (&[], &["dnf", "install", "--assumeyes"]),
            Self::Pacman => (&[], &["pacman", "-Sy", "--noconfirm", "--needed"]),
            Self::Brew => (&[], &["brew", "install"]),
        };
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let install = [install, names].concat();
        let commands: [Vec<String>; 2] = [owned(before), owned(&install)];
        commands.into_iter().filter(|words| !words.is_empty()).collect()
    }

    /// Whether the manager changes the whole system, and so needs its owner.
    fn needs_root(self) -> bool {
        self != Self::Brew
    }
}

/// Installs packages with the system's package manager.
///
/// # Errors
/// With the exact commands to type, where this program cannot run them.
pub(crate) fn install(tools: &Toolbox, package: Package) -> Result<()> {
    let manager = Manager::detect(tools).with_context(|| by_hand(package))?;
    let names = manager.names(package);
    if names.is_empty() {
        bail!(by_hand(package));
    }
    let commands = prefixed(manager.commands(names), &become_root(tools, manager)?);
    let typed: Vec<String> = commands.iter().map(|words| words.join(" ")).collect();
    commands
        .iter()
        .try_for_each(|words| run_words(tools, words))
        .with_context(|| format!("please run this yourself: {}", typed.join(" && ")))
}

fn run_words(tools: &Toolbox, words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("an empty command")?;
    let mut command = tools.command(program);
    // apt's packages must not stop to ask anything: nobody may be listening.
    tools.run(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))
}

/// The words to put before a command so that it runs as the system's owner.
fn become_root(tools: &Toolbox, manager: Manager) -> Result<Vec<String>> {
    if !manager.needs_root() || is_root(tools) {
        return Ok(vec![]);
    }
    if tools.find("sudo").is_none() {
        bail!("`{}` needs root, and there is no sudo: run this as root", manager.program());
    }
    Ok(vec!["sudo".to_owned()])
}

fn is_root(tools: &Toolbox) -> bool {
    let id = tools.capture(tools.command("id").arg("-u"));
    id.is_some_and(|id| id.trim() == "0")
}

fn prefixed(commands: Vec<Vec<String>>, prefix: &[String]) -> Vec<Vec<String>> {
    let with_prefix = |words: Vec<String>| [prefix, &words].concat();
    commands.into_iter().map(with_prefix).collect()
}

/// What to do where no known package manager has the package.
fn by_hand(package: Package) -> &'static str {
    match package {
        Package::Compiler => {
            "no C compiler found: install one (macOS: `xcode-select --install`; Windows: the \
             Visual Studio build tools; elsewhere gcc or clang)"
        }
        Package::Vulkan => {
            "no Vulkan driver found: install Mesa's software driver, lavapipe, and the Vulkan \
             loader from your distribution"
        }
        Package::Browser => {
            "no Chromium with chromedriver found: install Google Chrome or Chromium and the \
             chromedriver of the same version (macOS: `brew install --cask google-chrome \
             chromedriver`; Windows: `winget install Google.Chrome Chromium.ChromeDriver`), both on \
             PATH, or name the driver in the variable CHROMEDRIVER"
        }
        Package::Node => {
            "no Node with npm found: install Node 20 or newer (macOS: `brew install node`; Windows: \
             `winget install OpenJS.NodeJS`)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGES: [Package; 4] = [Package::Compiler, Package::Vulkan, Package::Browser, Package::Node];

    #[test]
    fn every_linux_manager_names_every_package() {
        for manager in [Manager::Apt, Manager::Dnf, Manager::Pacman] {
            for package in PACKAGES {
                assert!(!manager.names(package).is_empty(), "{manager:?} {package:?}");
            }
        }
    }

    #[test]
    fn debian_packages() {
        assert_eq!(Manager::Apt.names(Package::Vulkan), ["mesa-vulkan-drivers", "libvulkan1"]);
        assert_eq!(Manager::Apt.names(Package::Browser), ["chromium", "chromium-driver"]);
    }

    #[test]
    fn apt_reads_its_lists_before_it_installs() {
        let commands = Manager::Apt.commands(&["a", "b"]);
        assert_eq!(commands.len(), 2);
        assert_eq!(commands[0], ["apt-get", "update"]);
        assert_eq!(commands[1], ["apt-get", "install", "--yes", "--no-install-recommends", "a", "b"]);
    }

    #[test]
    fn other_managers_take_one_command() {
        assert_eq!(Manager::Dnf.commands(&["a"]), [["dnf", "install", "--assumeyes", "a"]]);
        assert_eq!(Manager::Pacman.commands(&["a"]), [["pacman", "-Sy", "--noconfirm", "--needed", "a"]]);
    }

    #[test]
    fn sudo_stands_before_every_command() {
        let commands = prefixed(Manager::Apt.commands(&["a"]), &["sudo".to_owned()]);
        assert!(commands.iter().all(|words| words[0] == "sudo" && words[1] == "apt-get"));
    }

    #[test]
    fn homebrew_never_becomes_root() {
        assert!(!Manager::Brew.needs_root());
        assert!(Manager::Apt.needs_root());
    }
}
