//! What every part of pspnetd stands on and what knows none of them: time, stopping, hand-over between threads, child
//! processes, files and files of lines, text from outside, values of the configuration, failures and their exit codes.

pub mod back_off;
pub mod child;
pub mod clock;
pub mod command_line;
pub mod device_users;
pub mod failure;
pub mod files;
pub mod line_file;
pub mod logging;
pub mod mailbox;
pub mod names;
pub mod outbox;
pub mod pause;
pub mod priority;
pub mod rounding;
pub mod shutdown;
pub mod signals;
pub mod sync;
pub mod text;
pub mod values;
