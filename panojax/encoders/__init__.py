"""Networks that turn a portrait into style codes and tri-grid offsets."""
