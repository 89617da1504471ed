"""Why a variant fails: the step that broke it, and the layers that cost most."""
