"""What a run gave, as pages that people read: Markdown and one self-contained HTML file."""
