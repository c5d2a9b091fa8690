//! Kernel tuning for very many connections: the settings, their reasons, and the tool that reads, applies and rolls back.
