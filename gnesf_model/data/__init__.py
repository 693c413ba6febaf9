"""Where frames come from: folders, bags, procedural rooms and live messages, all as `Frame`."""
