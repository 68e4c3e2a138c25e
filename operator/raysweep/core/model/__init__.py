"""Records without logic: facts, memory, decisions, reasons, parameters."""
