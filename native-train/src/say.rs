//! Printing that outlives its reader: `rmae info --graph | head` ends quietly, and a training run goes
//! on when the program that shows its output is gone. `println!` would panic in both.

/// `println!` that ignores a closed output.
macro_rules! say {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($arguments)*);
    }};
}

/// `eprintln!` that ignores a closed output.
macro_rules! complain {
    ($($arguments:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($arguments)*);
    }};
}
