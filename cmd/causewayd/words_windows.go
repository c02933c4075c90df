package main

// sudo is no command here; a terminal that was opened as administrator is.
const sudo = "(as administrator) "
