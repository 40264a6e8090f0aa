"""From a portrait to a head: encoders, optimisation, and the stages they share."""
