// What unit tests of apps need: the library of the build machine, with a network and a clock in the hand of a test.
plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    alias(libs.plugins.dokka)
    `maven-publish`
}

android {
    namespace = "dev.backstop.testing"
    compileSdk = libs.versions.compileSdk.get().toInt()
    defaultConfig {
        minSdk = libs.versions.minSdk.get().toInt()
    }
    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }
    sourceSets["main"].apply {
        kotlin.srcDir(rootProject.file(providers.gradleProperty("backstop.generated").get() + "/dev/backstop/testing"))
        // <JNA platform>/libbackstop_ffi_testing.*: JNA finds them on the class path.
        resources.srcDir(rootProject.file(providers.gradleProperty("backstop.testLibraries").get()))
    }
    publishing {
        singleVariant("release") { withSourcesJar() }
    }
}

kotlin {
    jvmToolchain(17)
    compilerOptions { allWarningsAsErrors = true }
}

dependencies {
    api(project(":sdk"))
    // The JAR beside the SDK's AAR: unit tests run on the build machine.
    api(libs.jna)
}

publishing {
    publications.register<MavenPublication>("release") {
        artifactId = "backstop-android-testing"
        afterEvaluate { from(components["release"]) }
    }
}
