"""The IngestPipeline API: values, parser and wire constants. Standard library only; imports nothing of Forebay's."""
