//! The load generator as people run it: the program itself, against servers whose behaviour is known.

mod fanout;
mod floor;
mod self_check;
mod stop;
