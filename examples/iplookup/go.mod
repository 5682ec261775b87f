module example.com/iplookup

go 1.24
