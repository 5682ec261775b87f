package broken

var _ = nothing
