"""Problems of rule files: as values, their layout, and without secrets."""
