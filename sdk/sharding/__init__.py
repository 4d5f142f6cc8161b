"""Load spread over several objects of a class: which object has what, and how that changes while it is used."""
