//! Start-up log, `/metrics`, inspect -> the resolved config; mismatches; twins.
